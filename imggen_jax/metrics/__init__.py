"""Scores of pictures: features of an iterable of pictures -> statistics that stream and merge -> scores."""

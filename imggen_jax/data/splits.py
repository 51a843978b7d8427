"""Split expressions."""


def sub_split(split: str, part: str) -> str:
    """The expression for a part of a split expression: sub_split("train+test", ":95%") -> "(train+test)[:95%]"."""
    return f"({split})[{part}]" if "+" in split else f"{split}[{part}]"

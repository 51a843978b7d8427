"""What the checks of all models share."""
from __future__ import annotations

import numpy as np
import torch

SIZE = 64  # sides of pictures


def turned(array):
    """[n,H,W,C] as a tensor [n,C,H,W]."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(np.asarray(array), -1, 1)))


def back(tensor):
    return np.moveaxis(tensor.detach().numpy(), 1, -1)


def difference(ours, theirs):
    return float(np.max(np.abs(np.asarray(ours) - np.asarray(theirs))))

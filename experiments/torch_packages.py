"""Import torchvision, for the checks against other people's implementations, which import it and need little of it."""
import sys

OPERATORS = []  # kept, since a library of operators lives as long as its object


def import_torchvision():
    """Import torchvision even where its compiled operators, which no check needs, are of another build of torch."""
    import torch

    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        OPERATORS.append(torch.library.Library("torchvision", "DEF"))
        for name in ("nms", "qnms"):
            OPERATORS[0].define(f"{name}(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor")

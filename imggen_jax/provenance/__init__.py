"""Pictures that say what they are: records, signed credentials and a watermark, and who reads them.

    from imggen_jax import provenance

    provenance.verify("out/000007.png").holds       # signed, and unchanged since
    provenance.detect(pixels).marked                # uint8 [H,W,C]
    with provenance.using(provenance.Settings(watermark=False)):
        imggen_jax.generate("runs/faces", "out", num=4)
"""
from imggen_jax.pictures.files import Picture
from imggen_jax.provenance.detection import Detection, detect
from imggen_jax.provenance.publishing import Origin, Settings, using, write, write_png
from imggen_jax.provenance.verifying import Verdict, verify
from imggen_jax.provenance.watermark import mark

__all__ = ["Detection", "Origin", "Picture", "Settings", "Verdict", "detect", "mark", "using", "verify", "write",
           "write_png"]

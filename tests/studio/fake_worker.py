"""A worker for tests: it answers as the real one does, at once, with pictures of one color and without JAX."""
import base64
import io
import json
import sys
import time
from pathlib import Path

from PIL import Image

from imggen_jax.errors import RunError
from imggen_jax.studio import worker

FACTS = {"needs": ["text"], "mixes": True, "options": {"steps": [16, 1, 100, ""]}, "size": [64, 64], "labels": [],
         "genes": [], "words": sorted("a person smiling sad with glasses no beard blue black hair".split())}


def answer(question, say):
    if question["do"] == "facts":
        return FACTS
    if question["do"] == "show":
        held = io.BytesIO()
        Image.new("RGB", (64, 64), (90, 160, 20)).save(held, "PNG")
        return {"png": base64.b64encode(held.getvalue()).decode(), "size": [64, 64]}
    words, out = question["words"], Path(question["folder"] or ".")
    text = " ".join(words)
    if "impossible" in text:
        say(note="error: this cannot be; ask for something else")
        return {"code": 2, "said": [], "made": []}
    if "fatal" in text:
        sys.exit(9)
    number = int(words[words.index("--num") + 1]) if "--num" in words else 1
    made = []
    for k in range(number):
        if "slowly" in text:
            time.sleep(0.3)
        if words[0] in ("generate", "vary", "breed"):
            path = (out if question["folder"] else Path(words[-1])) / f"{k:06d}.png"
        else:
            path = Path(words[words.index("--out") + 1]) if "--out" in words else None
        if path is not None:
            path = path if path.suffix else path / "edited.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (64, 64), (20 * k % 256, 90, 160)).save(path)
        prompt = words[words.index("--prompt") + 1] if "--prompt" in words else ""
        made.append({"file": path.name if path else "", "verb": words[0], "prompt": prompt, "seed": k})
        say(share=(k + 1) / number)
    said = {"verify": [json.dumps(VERDICT)], "detect": [json.dumps(MARK)],
            "data": ["Pictures used     3, 32x32", "Left out          1: not a picture"]}
    return {"code": 0, "said": said.get(words[0], []), "made": made}


VERDICT = {"signature": "holds", "signer": {"name": "<b>somebody</b>"}, "trusted": False, "generator": "imggen_jax",
           "source_type": "trainedAlgorithmicMedia", "actions": ["created"], "ingredients": [], "pixels": "unchanged",
           "made": {"verb": "generate"}, "problems": []}
MARK = {"marked": True, "payload": "1", "false_positive_rate": 1e-6}

if __name__ == "__main__":
    try:
        worker.serve(answer, sys.stdin, sys.stdout)
    except RunError as error:
        sys.exit(str(error))

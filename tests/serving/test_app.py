"""smoke"""
import base64, io, time
import numpy as np
from PIL import Image


def test_smoke(client, address):
    print(client.get("/healthz").json())
    t = time.time()
    r = client.post("/v1/images/generations", json={"prompt": "a smiling person", "n": 2, "seed": 3})
    print(r.status_code, str(r.json())[:300], time.time() - t, r.headers)
    assert r.status_code == 200
    r = client.post("/v1/images/generations", json={"prompt": "a smiling person", "model": "guided", "stream": True, "partial_images": 2})
    print(r.status_code, r.text[:300])
    print(client.get("/metrics").text[:1500])
    print(client.get("/docs").text[:1500])

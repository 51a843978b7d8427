"""What must not get through: pages of others, bodies without end, bombs; and a small part of 2,000 hostile requests."""
import json
import runpy
import socket
from urllib.parse import urlsplit

import numpy as np
import pytest
import shell
from served import LIMITS, file_of, serving

from imggen_jax.serving import guards
from imggen_jax.serving.openai import ApiError

HOSTILE = shell.REPOSITORY / "experiments" / "service" / "hostile.py"
HERE = guards.LOOPBACK


@pytest.mark.parametrize("headers, hosts, good", [
    ({"host": "127.0.0.1:8000"}, HERE, True), ({"host": "LOCALHOST"}, HERE, True), ({"host": "[::1]:8000"}, HERE, True),
    ({"host": "localhost."}, HERE, True),
    ({"host": "evil.example:8000"}, HERE, False), ({}, HERE, False), ({"host": "192.168.0.3"}, HERE, False),
    ({"host": "[::1"}, HERE, False), ({"host": "localhost@evil.example"}, HERE, False),
    ({"host": "192.168.0.3:80"}, (*HERE, "*"), True), ({"host": "evil.example"}, (*HERE, "*"), False),
    ({"host": "localhost:1", "origin": "http://localhost:1"}, HERE, True),
    ({"host": "localhost:1", "origin": "http://localhost:2"}, HERE, False),
    ({"host": "localhost:1", "origin": "null"}, HERE, False),
    ({"host": "localhost:1", "origin": "http://evil.example"}, HERE, False),
    ({"host": "localhost:1", "sec-fetch-site": "same-origin"}, HERE, True),
    ({"host": "localhost:1", "sec-fetch-site": "cross-site"}, HERE, False)])
def test_hosts_and_origins(headers, hosts, good):
    if good:
        return guards.check_source(headers, hosts)
    with pytest.raises(ApiError) as caught:
        guards.check_source(headers, hosts)
    assert caught.value.status == 403


def test_which_addresses_are_this_computers_alone():
    assert all(map(guards.is_loopback, ("localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]")))
    assert not any(map(guards.is_loopback, ("0.0.0.0", "::", "192.168.0.3", "example.org", "localhost.example.org")))


def test_hostile_requests_are_refused_each_without_a_traceback(address, client, capfd):
    hostile = runpy.run_path(str(HOSTILE))
    for one in hostile["requests"](urlsplit(address).netloc, 150, begin=2000):
        status, answer = hostile["send"](address, one)
        assert hostile["fault"](one, status, answer) is None, (one.name, status, answer[-300:])
    assert "Traceback" not in "".join(capfd.readouterr())
    assert client.post("/v1/images/generations", json={"prompt": "a sad person"}).status_code == 200


def _raw(address, head, *bodies):
    split = urlsplit(address)
    with socket.create_connection((split.hostname, split.port), timeout=20) as connection:
        connection.sendall(head.replace("HOST", split.netloc).encode())
        for body in bodies:
            connection.sendall(body)
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return answer.decode()


HEAD = "POST /v1/images/generations HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/json\r\n"


def test_bodies_are_bounded_in_bytes_whether_or_not_they_say_so(address):
    told = _raw(address, f"{HEAD}Content-Length: {LIMITS.body + 1}\r\n\r\n")
    assert told.startswith("HTTP/1.1 413") and f"more than {LIMITS.body:,} bytes" in told
    form = HEAD.replace("application/json", "multipart/form-data; boundary=b").replace("images/generations", "detect")
    part = b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
    for head, begin, most in ((HEAD, b"", 100_000), (form, part, LIMITS.body)):
        body = begin.ljust(most)
        chunks = f"{most:x}\r\n".encode() + body + b"\r\n", b"1\r\n \r\n"      # one byte too many, and no end
        assert _raw(address, f"{head}Transfer-Encoding: chunked\r\n\r\n", *chunks).startswith("HTTP/1.1 413")


def test_bodies_are_bounded_in_time():
    with serving(limits=LIMITS._replace(upload=0.2)) as address:
        told = _raw(address, f"{HEAD}Content-Length: 100\r\n\r\n", b'{"prompt"')
        assert told.startswith("HTTP/1.1 408") and "did not arrive within 0.2 s" in told


def test_pictures_are_bounded_in_pixels_before_they_are_unpacked(client):
    answer = client.post("/v1/detect", files={"image": file_of(np.zeros((101, 100), np.uint8))})
    assert answer.status_code == 400 and answer.json()["error"]["message"] == (
        "image is 100x101; at most 10,000 pixels are taken")
    answer = client.post("/v1/upscale", files={"image": file_of(np.zeros((100, 100), np.uint8))}, data={"scale": "4"})
    assert answer.status_code == 400 and "the result would have more than" in answer.json()["error"]["message"]


def test_a_form_that_is_cut_off_after_a_whole_part_is_none(client):
    head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
    whole = head + file_of(np.zeros((9, 9), np.uint8)) + b"\r\n--b--\r\n"
    sent = {"headers": {"Content-Type": "multipart/form-data; boundary=b"}}
    assert client.post("/v1/detect", content=whole, **sent).status_code == 200
    for cut in (4, 5, 30):
        answer = client.post("/v1/detect", content=whole[:-cut], **sent)
        assert answer.status_code == 400 and "not a whole form" in answer.json()["error"]["message"]


def test_nothing_is_fetched(client):
    answer = client.post("/v1/images/edits", data={"prompt": "a", "image": "http://example.org/a.png"},
                         files={"mask": file_of(np.zeros((9, 9, 4), np.uint8))})
    assert answer.status_code == 400 and "nothing is fetched" in answer.json()["error"]["message"]
    answer = client.post("/v1/images/edits", json={"prompt": "a", "images": [{"image_url": "http://example.org"}]})
    assert answer.status_code == 415


def test_every_answer_has_the_headers_that_keep_browsers_from_more(client, address):
    answers = [client.get("/healthz"), client.get("/nothing"), client.post("/v1/verify", json={}),
               client.get("/healthz", headers={"Host": "evil.example"})]
    for answer in answers:
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["cache-control"] == "no-store"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin" and "server" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers
    assert [answer.status_code for answer in answers] == [200, 404, 415, 403]
    assert json.loads(answers[1].text)["error"]["message"] == "there is no such page"

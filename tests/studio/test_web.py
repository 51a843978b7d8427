"""The server: what it serves, whom it answers, and what it never does."""
import re

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from imggen_jax.studio import app, web


@pytest.fixture
def picture(home, tmp_path):
    Image.new("RGB", (300, 200), (9, 90, 160)).save(tmp_path / "a.png")
    return home.bring(tmp_path / "a.png", 'a "quoted"; name')


@pytest.fixture
def client(home):
    served = web.routes(home)
    served.add_middleware(web.Guard, hosts=web.hosts("127.0.0.1", 80))
    return TestClient(served, base_url="http://127.0.0.1:80", headers={"host": "127.0.0.1:80"})


def test_pictures_are_served_by_their_ids(client, picture):
    for kind, expected in (("view", "image/png"), ("thumb", "image/webp"), ("file", "image/png")):
        answer = client.get(f"/pictures/{picture.id}/{kind}")
        assert answer.status_code == 200 and answer.headers["content-type"] == expected
    assert answer.headers["content-disposition"] == f'attachment; filename="a__quoted___name_{picture.id[:6]}.png"'
    found = client.get("/pictures?words=quoted").json()
    assert found["count"] == 1 and found["pictures"][0]["id"] == picture.id
    assert client.get("/pictures?words=nothing").json()["pictures"] == []


@pytest.mark.parametrize("path", [
    "/pictures/../../etc/passwd/view", "/pictures/%2e%2e%2f%2e%2e%2fetc%2fpasswd/view", "/pictures/own/view",
    "/pictures/0000000000000000/view", "/studio/../app.py", "/studio/app.py", "/studio/%2e%2e/web.py", "/openapi.json",
    "/docs", "/gradio_api/proxy=http://127.0.0.1/", "/gradio_api/mcp/", "/proxy=http://example.org/x", "/login"])
def test_nothing_is_served_by_name(client, picture, path):
    assert client.get(path).status_code == 404


def test_numbers_that_are_none_are_passed_over(client, picture):
    assert client.get("/pictures?offset=x&limit=nan&after=1e99&before=-&family=zz").json()["count"] == 1


@pytest.mark.parametrize("headers, status", [
    ({"host": "attacker.example:80"}, 421), ({"host": "127.0.0.1:81"}, 421), ({"origin": "http://evil.example"}, 403),
    ({"origin": "null"}, 403), ({"sec-fetch-site": "cross-site"}, 403), ({"content-length": "99999999999"}, 413),
    ({"content-length": "-5"}, 413)])
def test_other_pages_and_hosts_are_refused(client, headers, status):
    assert client.post("/gradio_api/queue/join", headers=headers, content=b"").status_code == status


def test_every_answer_binds_the_page_to_this_server(client, picture):
    for path in (f"/pictures/{picture.id}/view", "/nowhere", "/studio/studio.js"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy and "http" not in policy and "*" not in policy


def test_the_whole_application_names_no_other_server(studio):
    served = app.serve(studio, "127.0.0.1", 80)
    client = TestClient(served, base_url="http://127.0.0.1:80", headers={"host": "127.0.0.1:80"})
    page = client.get("/")
    assert page.status_code == 200 and "content-security-policy" in page.headers
    head, _, body = page.text.partition("</head>")      # in the page itself, for a browser whose scripts fail
    assert '<script src="/studio/studio.js">' in head and "need JavaScript" in head and "</html>" in body
    loaded = re.findall(r'(?:src|href)="(https?:)?//([^"/]+)', page.text)
    assert not [host for _, host in loaded if not host.startswith("127.0.0.1")]
    assert not re.search(r"fonts\.g|cdnjs|analytics\.", client.get("/theme.css").text)
    assert client.get("/gradio_api/file=/etc/passwd").status_code in (403, 404)
    own = studio.home.index.path
    assert client.get(f"/gradio_api/file={own}").status_code in (403, 404)

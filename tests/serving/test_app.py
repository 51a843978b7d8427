"""What programs ask for over HTTP, and get: by OpenAI's own client, and by plain requests."""
import base64
import concurrent.futures
import io
import json
import re
import threading
import time

import httpx
import numpy as np
import openai
import pytest
from PIL import Image
from served import LIMITS, MODELS, file_of, pixels_of, serving

from imggen_jax import prompting
from imggen_jax.provenance import detection, records, verifying
from imggen_jax.serving import batches, keys, sending, verbs, worker

PROMPT = "a smiling person"


def made(model, prompt, num, seed, **options):
    """What the command line makes: uint8 [n,H,W]."""
    return prompting.sample(MODELS[model], prompt, num=num, seed=seed, **options)[..., 0]


def pictures(answer):
    """The pictures of an answer."""
    return [pixels_of(base64.b64decode(each["b64_json"])) for each in answer["data"]]


@pytest.fixture(scope="module")
def official(address):
    """OpenAI's client, as it is."""
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as found:
        yield found


# ------------------------------------------------------------------------------------------------- OpenAI's own client


def test_the_official_client_lists_models_and_makes_pictures(official):
    assert [model.id for model in official.models.list()] == ["words", "guided", "larger"]
    assert official.models.retrieve("guided").id == "guided"
    found = official.images.generate(model="words", prompt=PROMPT, n=3, size="16x16", extra_body={"seed": 5})
    assert found.output_format == "png" and found.size == "16x16" and found.usage.total_tokens == 3
    np.testing.assert_array_equal(pictures(found.to_dict()), made("words", PROMPT, 3, 5))


def test_the_official_client_streams_partial_pictures(official):
    events = list(official.images.generate(
        model="guided", prompt=PROMPT, stream=True, partial_images=3, extra_body={"seed": 7}))
    assert [event.type for event in events] == ["image_generation.partial_image"] * 3 + ["image_generation.completed"]
    assert [event.partial_image_index for event in events[:3]] == [0, 1, 2]
    np.testing.assert_array_equal(pixels_of(base64.b64decode(events[-1].b64_json)), made("guided", PROMPT, 1, 7)[0])


def test_the_official_client_edits_what_is_transparent_in_a_mask(official):
    picture = made("words", PROMPT, 1, 3)[0]
    mask = np.full((16, 16, 4), 255, np.uint8)
    mask[4:9, 4:12, 3] = 0
    found = official.images.edit(model="words", prompt="a sad person", image=("x.png", file_of(picture)),
                                 mask=("../../m.png", file_of(mask)), n=2, extra_body={"seed": 1})
    first, second = pictures(found.to_dict())
    outside = mask[..., 3] > 0
    assert (first[outside] == picture[outside]).all() and (second[outside] == picture[outside]).all()
    assert (first != picture).any() and (first != second).any()
    event, = official.images.edit(model="words", prompt="a sad person", image=("x.png", file_of(picture)), stream=True)
    assert event.type == "image_edit.completed"


def test_the_official_client_varies_its_own_pictures_whose_words_are_remembered(official):
    content = base64.b64decode(official.images.generate(prompt="a sad person blue hair").data[0].b64_json)
    found = official.images.create_variation(image=("x.png", content), n=2)
    assert len(pictures(found.to_dict())) == 2
    plain = file_of(pixels_of(content))
    with pytest.raises(openai.BadRequestError) as caught:
        official.images.create_variation(image=("x.png", plain))
    assert caught.value.param == "prompt" and "does not say which one" in str(caught.value)
    assert official.images.create_variation(image=("x.png", plain), extra_body={"prompt": "a sad person"}).data


def test_the_official_client_understands_errors(official):
    for error, said, options in (
            (openai.NotFoundError, "the model 'dall-e-2' is not served; there are words, guided, larger",
             dict(model="dall-e-2", prompt=PROMPT)),
            (openai.BadRequestError, "makes pictures of 16x16", dict(prompt=PROMPT, size="1024x1024")),
            (openai.BadRequestError, "n: Input should be less than or equal to 10", dict(prompt=PROMPT, n=11)),
            (openai.BadRequestError, "in one step", dict(prompt=PROMPT, quality="low"))):
        with pytest.raises(error) as caught:
            official.images.generate(**options)
        assert said in caught.value.message and caught.value.code and caught.value.type.endswith("_error")


# ---------------------------------------------------------------------------------------------------------- pictures


def test_the_same_picture_alone_and_in_a_batch_with_others(client):
    def ask(seed):
        return client.post("/v1/images/generations", json={
            "model": "words", "prompt": ["a sad person", "a smiling person beard"][seed % 2], "seed": seed, "n": 2})

    seeds = range(24)
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(ask, seeds))
    for seed, answer in zip(seeds, answers):
        assert [each["seed"] for each in answer.json()["data"]] == [seed, seed + 1]
        np.testing.assert_array_equal(
            pictures(answer.json()), made("words", ["a sad person", "a smiling person beard"][seed % 2], 2, seed))
    batches = re.search(r'imggen_batch_requests_sum{model="words"} (\d+)', client.get("/metrics").text)
    count = re.search(r'imggen_batch_requests_count{model="words"} (\d+)', client.get("/metrics").text)
    assert int(batches[1]) > int(count[1])               # some were made together


def test_quality_is_a_matter_of_steps_and_seeds_are_drawn_where_none_is_given(client):
    ask = {"model": "guided", "prompt": PROMPT}
    low = client.post("/v1/images/generations", json={**ask, "quality": "low", "seed": 3}).json()
    record = records.loads(_text_of(base64.b64decode(low["data"][0]["b64_json"])), "x").record
    assert record.arguments["steps"] == 4 and record.arguments["seed"] == 3 and low["quality"] == "low"
    seeds = {client.post("/v1/images/generations", json=ask).json()["data"][0]["seed"] for _ in range(3)}
    assert len(seeds) == 3


def test_drawn_seeds_fit_into_one_batch():
    draw = batches.Seeds()
    first = [draw.draw(n) for n in (3, 10, 1, 250, 4)]
    assert [seed % 256 for seed in first] == [0, 3, 13, 14, 8] and all(0 <= seed < 2**32 - 10 for seed in first)


def _text_of(content):
    with Image.open(io.BytesIO(content)) as opened:
        return opened.text[records.KEY]


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_formats_and_compression(client, kind):
    sizes = []
    for more in ({}, {"output_compression": 10}):
        answer = client.post("/v1/images/generations", json={
            "prompt": PROMPT, "seed": 3, "output_format": kind, **more}).json()
        content = base64.b64decode(answer["data"][0]["b64_json"])
        sizes.append(len(content))
        pixels = pixels_of(content)
        assert abs(pixels.reshape(16, 16, -1)[..., 0].astype(int) - made("words", PROMPT, 1, 3)[0]).mean() < 12
    assert answer["output_format"] == kind and sizes[1] < sizes[0]


def test_a_url_is_good_for_its_owner_until_it_is_deleted(client):
    answer = client.post("/v1/images/generations", json={"prompt": PROMPT, "seed": 3, "response_format": "url"}).json()
    url = answer["data"][0]["url"]
    found = client.get(url)
    assert found.headers["content-type"] == "image/png" and found.headers["x-content-type-options"] == "nosniff"
    np.testing.assert_array_equal(pixels_of(found.content), made("words", PROMPT, 1, 3)[0])
    assert client.delete(url).json()["deleted"]
    assert client.get(url).status_code == client.delete(url).status_code == 404


def test_pictures_are_signed_and_marked_and_prompts_stay_private(tmp_path):
    waves = np.round(127 + 60 * np.sin(np.arange(80) / 5)).astype(np.uint8)
    big = np.stack([np.add.outer(waves // 2, waves // 3)] * 3, axis=-1)
    limits = LIMITS._replace(pixels=30_000)
    with serving(credentials=True, limits=limits) as address, httpx.Client(base_url=address, timeout=60) as client:
        answers = {
            "generate": client.post("/v1/images/generations", json={"prompt": "a sad person"}),
            "upscale": client.post("/v1/upscale", files={"image": file_of(big)}, data={"model": "larger"}),
            "vary": client.post("/v1/images/variations", files={"image": file_of(made("words", PROMPT, 1, 3)[0])},
                                data={"prompt": "a sad person", "output_format": "webp"})}
        for verb, answer in answers.items():
            content = base64.b64decode(answer.json()["data"][0]["b64_json"])
            file = tmp_path / f"{verb}.{'webp' if verb == 'vary' else 'png'}"
            file.write_bytes(content)
            verdict = verifying.verify(file)
            assert verdict.holds and verdict.made["verb"] == verb, verdict
            assert b"sad person" not in content
            if verb == "upscale":
                assert pixels_of(content).shape == (160, 160, 3) and detection.detect(pixels_of(content)).marked
                told = client.post("/v1/verify", files={"image": content}).json()
                assert told["holds"] and told["file"] == "image"
                assert client.post("/v1/detect", files={"image": content}).json()["marked"]
    assert not detection.detect(big).marked


def test_a_policy_is_asked_first_and_its_place_is_not_told(client, tmp_path, monkeypatch):
    file = tmp_path / "policy.toml"
    file.write_text('intended = "tests"\n[refuse]\nwords = ["sad"]\nverbs = ["remove"]\n')
    monkeypatch.setenv("IMGGEN_JAX_POLICY", str(file))
    picture, mask = np.full((20, 20, 3), 90, np.uint8), np.full((20, 20, 4), 255, np.uint8)
    mask[5:9, 5:9, 3] = 0
    for answer in (client.post("/v1/images/generations", json={"prompt": "a SAD person"}),
                   client.post("/v1/remove", files={"image": file_of(picture), "mask": file_of(mask)})):
        error = answer.json()["error"]
        assert answer.status_code == 400 and error["code"] == "content_policy_violation"
        assert "the policy of this service refuses" in error["message"] and str(tmp_path) not in error["message"]
    assert client.post("/v1/images/generations", json={"prompt": PROMPT}).status_code == 200
    file.write_text("refuse = 3")
    answer = client.post("/v1/images/generations", json={"prompt": PROMPT})
    assert answer.status_code == 503 and str(tmp_path) not in answer.text


def test_remove_and_stylize(client):
    waves = np.round(127 + 100 * np.sin(np.arange(48) / 3)).astype(np.uint8)
    picture = np.stack([np.add.outer(waves // 2, waves // 2)] * 3, axis=-1)
    mask = np.full((48, 48, 4), 255, np.uint8)
    mask[20:26, 20:26, 3] = 0
    files = {"image": file_of(picture), "mask": file_of(mask)}
    found, = pictures(client.post("/v1/remove", files=files, data={"quality": "draft"}).json())
    outside = mask[..., 3] > 0
    assert found.shape == picture.shape and (found[outside] == picture[outside]).all()
    style = np.random.default_rng(0).integers(0, 255, (48, 48, 3), np.uint8)
    answer = client.post("/v1/stylize", files={"image": file_of(picture), "style": file_of(style, "JPEG")},
                         data={"quality": "draft", "output_format": "jpeg"})
    assert pictures(answer.json())[0].shape == picture.shape


@pytest.mark.parametrize("ask, param, said", [
    ({"prompt": "{a, b} person"}, "prompt", "stands for 2 prompts"),
    ({"prompt": "a::0"}, None, "of weight 0"), ({"prompt": "x" * 2001}, "prompt", "at most 2000"),
    ({"prompt": PROMPT, "style": "vivid"}, "style", "is not a field of this request"),
    ({"prompt": PROMPT, "background": "transparent"}, "background", "opaque"),
    ({"prompt": PROMPT, "size": "7x"}, "size", "auto or WIDTHxHEIGHT"),
    ({"prompt": PROMPT, "seed": 2**32 - 1, "n": 2}, None, "seed is 4294967295"), ({}, "prompt", "Field required")])
def test_what_cannot_be_is_refused_in_openais_words(client, ask, param, said):
    answer = client.post("/v1/images/generations", json=ask)
    error = answer.json()["error"]
    assert answer.status_code == 400 and set(error) == {"message", "type", "param", "code"}
    assert said in error["message"] and error["param"] == param and error["type"] == "invalid_request_error"


def test_masks_that_do_not_fit_are_named(client):
    picture, clear = np.full((16, 16), 90, np.uint8), np.zeros((16, 16, 4), np.uint8)
    for mask, said in ((picture, "has no transparency"), (clear[:8], "mask is 16x8 and image 16x16"),
                       (clear, "marks every pixel"), (clear + 255, "marks no pixel")):
        answer = client.post("/v1/images/edits", data={"prompt": PROMPT},
                             files={"image": file_of(picture), "mask": file_of(mask)})
        assert answer.status_code == 400 and said in answer.json()["error"]["message"]


# -------------------------------------------------------------------------------------------------- hanging up, queue


@pytest.fixture
def slow(monkeypatch):
    """Jobs that look at a picture wait for the gate; what is under way is counted."""
    class Slow:
        gate, begun, ended = threading.Event(), threading.Semaphore(0), threading.Semaphore(0)

    def alone(self, run, rows, held):
        def work(tickets):
            Slow.begun.release()
            try:
                while not Slow.gate.wait(0.01):
                    tickets[0].check()
                tickets[0].done({"seen": True})
            finally:
                Slow.ended.release()
        return worker.Job(None, rows, work)

    monkeypatch.setattr(verbs.Verbs, "_alone", alone)
    yield Slow
    Slow.gate.set()


def test_who_hangs_up_is_not_worked_for_and_the_next_request_is_unaffected(address, client, slow):
    impatient = httpx.Client(base_url=address, timeout=httpx.Timeout(30, read=0.5))
    with pytest.raises(httpx.ReadTimeout), impatient:
        impatient.post("/v1/detect", files={"image": file_of(np.zeros((9, 9), np.uint8))})
    assert slow.begun.acquire(timeout=10) and slow.ended.acquire(timeout=10)   # without the gate
    answer = client.post("/v1/images/generations", json={"prompt": PROMPT, "seed": 3})
    np.testing.assert_array_equal(pictures(answer.json()), made("words", PROMPT, 1, 3))


def test_a_full_queue_says_when_to_come_back(slow):
    picture = file_of(np.zeros((9, 9), np.uint8))
    with serving(waiting=2, models="words") as address, httpx.Client(base_url=address, timeout=60) as client, \
            concurrent.futures.ThreadPoolExecutor(3) as pool:
        held = [pool.submit(client.post, "/v1/detect", files={"image": picture})]
        assert slow.begun.acquire(timeout=20)
        held += [pool.submit(client.post, "/v1/detect", files={"image": picture}) for _ in range(2)]
        until = time.monotonic() + 20
        while "imggen_waiting_requests 2" not in client.get("/metrics").text and time.monotonic() < until:
            time.sleep(0.01)
        answer = client.post("/v1/detect", files={"image": picture})
        assert answer.status_code == 429 and 1 <= int(answer.headers["retry-after"]) <= 60
        assert answer.json()["error"]["code"] == "queue_full"
        slow.gate.set()
        assert [one.result().status_code for one in held] == [200] * 3


# -------------------------------------------------------------------------------------------------------------- users


def test_keys_quotas_and_that_nobody_sees_or_deletes_anothers(tmp_path, capfd):
    file = tmp_path / "keys.json"
    ann, bob = keys.add(file, "ann", 3), keys.add(file, "bob")
    with serving(keys=str(file)) as address, httpx.Client(base_url=address, timeout=60) as client:
        def ask(key, **more):
            return client.post("/v1/images/generations", headers={"Authorization": f"Bearer {key}"} if key else {},
                               json={"prompt": "a sad person", **more})

        for key in (None, "", "none", ann[:-1], bob + "x"):
            answer = ask(key)
            assert answer.status_code == 401 and answer.json()["error"]["code"] == "invalid_api_key"
        assert client.get("/v1/models").status_code == client.get("/metrics").status_code == 401
        assert client.get("/healthz").status_code == 200
        url = ask(ann, response_format="url").json()["data"][0]["url"]
        his, hers = {"Authorization": f"Bearer {bob}"}, {"Authorization": f"Bearer {ann}"}
        assert client.get(url).status_code == 401 and client.get(url, headers=his).status_code == 404
        assert client.delete(url, headers=his).status_code == 404
        assert client.get(url, headers=hers).status_code == 200
        assert ask(ann, n=10).status_code == 429 and ask(ann, size="7x7").status_code == 400
        assert ask(ann, n=2).status_code == 200          # what was refused was not charged
        answer = ask(ann)
        assert answer.status_code == 429 and answer.json()["error"]["code"] == "insufficient_quota"
        assert int(answer.headers["retry-after"]) > 0 and ask(bob, n=10).status_code == 200
        told = client.get("/metrics", headers=his).text + client.get("/docs").text + client.get("/openapi.json").text
    told += "".join(capfd.readouterr())
    assert not [secret for secret in (ann, bob, ann[10:], "sad person", str(tmp_path)) if secret in told]


# ------------------------------------------------------------------------------------------------------------- faults


def test_a_bug_is_an_error_object_without_its_traceback_and_is_logged(client, monkeypatch, capfd):
    def fail(*_, **__):
        raise ZeroDivisionError("at /home/me/secret.py")

    monkeypatch.setattr(batches.generating, "images", fail)
    answer = client.post("/v1/images/generations", json={"prompt": PROMPT})
    assert answer.status_code == 500 and answer.json()["error"]["code"] == "internal_error"
    assert "secret" not in answer.text and "ZeroDivisionError" in capfd.readouterr().err
    monkeypatch.undo()
    assert client.post("/v1/images/generations", json={"prompt": PROMPT}).status_code == 200


def test_a_full_disk_is_said_and_the_service_goes_on(client, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sending.publishing, "write_png", full)
    answer = client.post("/v1/images/generations", json={"prompt": PROMPT})
    assert answer.status_code == 507 and answer.json()["error"]["code"] == "disk_full"
    monkeypatch.undo()
    assert client.post("/v1/images/generations", json={"prompt": PROMPT}).status_code == 200


def test_an_error_on_the_way_of_a_stream_is_an_event(client, monkeypatch):
    number = iter(range(100))

    def late(*arguments, **options):
        if next(number):
            raise OSError(28, "No space left on device")
        return write(*arguments, **options)

    write = sending.publishing.write_png
    monkeypatch.setattr(sending.publishing, "write_png", late)
    answer = client.post("/v1/images/generations", json={
        "model": "guided", "prompt": PROMPT, "stream": True, "partial_images": 1})
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    assert answer.status_code == 200 and [event["type"] for event in events] == [
        "image_generation.partial_image", "error"]
    assert events[1]["error"]["code"] == "disk_full"


def test_pages_load_nothing_from_elsewhere(client):
    page = client.get("/docs")
    assert page.status_code == 200 and not re.findall(r"(?:src|href)=\"(?!/openapi.json)", page.text)
    assert "<script" not in page.text and "url(" not in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    said = client.get("/openapi.json").json()
    assert set(said["paths"]["/v1/images/edits"]["post"]["requestBody"]["content"]) == {"multipart/form-data"}
    assert {"/v1/images/generations", "/v1/images/variations", "/v1/models", "/v1/upscale", "/v1/remove", "/v1/stylize",
            "/v1/detect", "/v1/verify", "/healthz", "/metrics"} <= set(said["paths"])

"""Signed pictures: who signed them, what they say, and that whatever is done to them is told right."""
import datetime
import json
import os
import re
import stat
import struct
import zlib
from pathlib import Path

import c2pa
import numpy as np
import pytest
import shell
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from PIL import Image, ImageFilter

import imggen_jax
from imggen_jax.errors import RunError
from imggen_jax.pictures import files, grids
from imggen_jax.pictures.files import Picture
from imggen_jax.provenance import credentials, detection, keys, private, publishing, records, settings, watermark
from imggen_jax.provenance.publishing import Origin, Settings
from imggen_jax.provenance.records import Family, Record
from imggen_jax.provenance.verifying import verify

PEM, PLAIN = serialization.Encoding.PEM, serialization.NoEncryption()


def noise(*shape, seed=0):
    image = np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(2)))


def family(**arguments):
    return Family(Record("generate", "faces", "ab" * 32, b"", {"label": [3, "red"], "text": "a secret wish"}, 0,
                         {"seed": 7, **arguments}, ()), {})


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("signed") / "a.png"
    publishing.write_png(path, noise(72, 72), Origin("generate", family(), {"trained on": {"dataset": "x"}}))
    return path


def test_a_picture_says_who_made_it_how_and_from_what(picture):
    found = verify(picture)
    assert found.holds and found.pixels == "unchanged" and not found.trusted and not found.problems
    assert (found.source_type, found.actions) == ("trainedAlgorithmicMedia", ("created", "watermarked.unbound"))
    assert found.generator.startswith("imggen_jax") and "self-signed" in found.signer["organization"]
    made = found.made
    assert (made["verb"], made["model"], made["seed"]) == ("generate", "ab" * 32, 7)
    assert made["given"] == {"label": [3, "red"]}
    assert made["trained on"] == {"dataset": "x"} and made["record"] == records.read(picture).record.name
    assert publishing.read(picture) == family()
    assert found.trusted is False and verify(picture, anchors=keys.config_folder() / keys.ANCHOR).trusted
    mark = detection.detect(files.read(picture).pixels, search=False)
    assert mark.payload == publishing.payload(Origin("generate", records.read(picture))) == int(made["watermark"], 16)


def test_prompts_are_private_unless_asked_for(picture, tmp_path):
    assert b"secret" not in picture.read_bytes() and "secret" not in str(records.read(picture))
    kept = picture.parent / private.FILE
    assert kept.read_text().count("a secret wish") == 1 and stat.S_IMODE(kept.stat().st_mode) == 0o600
    with publishing.using(Settings(prompt=True)):
        publishing.write_png(tmp_path / "a.png", noise(8, 8), Origin("generate", family()))
    assert verify(tmp_path / "a.png").made["given"]["text"] == "a secret wish"
    assert records.read(tmp_path / "a.png") == family() and not (tmp_path / private.FILE).exists()


def test_private_prompts_stay_beside_the_picture(picture, tmp_path):
    """A copy elsewhere has the record without them; with the file it has them again, and so have its descendants."""
    moved = tmp_path / "b.png"
    moved.write_bytes(picture.read_bytes())
    assert private.is_hidden(publishing.read(moved).record.given["text"])
    child = records.family(Record("edit", "faces", "ab" * 32, b"", {"text": "another"}, 0, {},
                                  (family().record.name,)), [family()])
    publishing.write_png(tmp_path / "c.png", noise(8, 8), Origin("edit", child))
    assert publishing.read(tmp_path / "c.png") == child
    assert publishing.read(moved) == family()                # prompts.jsonl is there now, and holds its text, too
    raw = records.read(tmp_path / "c.png")
    assert raw.record.parents == (records.read(picture).record.name,) == tuple(raw.ancestors)
    (tmp_path / private.FILE).write_text('{"name": 3}\n[1]\nnothing\n{"name": "private:0", "text": "x"}\n')
    assert publishing.read(moved).record == records.read(moved).record


def test_a_picture_is_written_where_its_prompt_cannot_be_kept(tmp_path, capsys):
    (tmp_path / private.FILE).mkdir()
    publishing.write_png(tmp_path / "a.png", noise(8, 8), Origin("generate", family()))
    assert verify(tmp_path / "a.png").holds and "cannot be kept" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif", "a.avif", "deep.png", "deep.tif", "clear.webp"])
def test_every_format_keeps_its_pixels_and_is_signed(name, picture, tmp_path):
    pixels = noise(70, 80)
    if name.startswith("deep"):
        pixels = pixels.astype(np.uint16) * 257
    if name.startswith("clear"):
        pixels = np.dstack([pixels, np.full((70, 80, 1), 99, np.uint8)])
    part = np.zeros((70, 80), bool)
    part[:, 20:] = True
    origin = Origin("remove", facts={"arguments": {"box": [[20, 0, 60, 70]]}}, parent=picture, part=part)
    publishing.write(tmp_path / name, Picture(pixels), origin)
    found = verify(tmp_path / name)
    assert found.holds and found.source_type == "compositeWithTrainedAlgorithmicMedia"
    assert found.ingredients == ("a.png",) and found.actions[:2] == ("opened", "edited")
    if name.endswith(("png", "tif", "webp")):
        assert np.array_equal(files.read(tmp_path / name).pixels[:, :20], pixels[:, :20])
    assert detection.detect(files.read(tmp_path / name).pixels, search=False).marked
    report = json.loads(c2pa.Reader(str(tmp_path / name)).json())   # the credentials of the picture before are inside
    assert len(report["manifests"]) == 2


def test_films_are_signed_and_marked_frame_by_frame(tmp_path):
    for name in ("a.webp", "a.gif"):
        publishing.write_film(tmp_path / name, np.stack([noise(128, 128, seed=k) for k in range(3)]),
                              Origin("interpolate", family()), duration=50)
        assert verify(tmp_path / name).holds and Image.open(tmp_path / name).n_frames == 3
    film = Image.open(tmp_path / "a.webp")
    film.seek(2)
    assert detection.detect(np.asarray(film.convert("RGB")), search=False).marked


def test_a_source_that_c2pa_does_not_read_is_named_all_the_same(tmp_path):
    Image.fromarray(noise(8, 8)).save(tmp_path / "a.bmp")
    publishing.write(tmp_path / "b.png", Picture(noise(8, 8)), Origin("tile", parent=tmp_path / "a.bmp"))
    assert verify(tmp_path / "b.png").ingredients == ("a.bmp",)


def chunks(data):
    """(kind, content) of a PNG's chunks."""
    at = 8
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        yield kind, data[at + 8:at + 8 + size]
        at += 12 + size


def png(parts):
    return b"\x89PNG\r\n\x1a\n" + b"".join(struct.pack(">I", len(body)) + kind + body
                                        + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts)


def tampered(picture, change):
    data, kept = picture.read_bytes(), list(chunks(picture.read_bytes()))
    pixels = files.read(picture).pixels.copy()
    if change == "one pixel":
        pixels[30, 30, 1] ^= 1
        new = list(chunks(grids.png(pixels)))
        return png([kept[0], *[part for part in kept if part[0] == b"caBX"], *new[1:]])
    if change == "stripped":
        return png([part for part in kept if part[0] != b"caBX"])
    if change == "moved":
        new = list(chunks(grids.png(noise(72, 72, seed=5))))
        return png([new[0], *[part for part in kept if part[0] == b"caBX"], *new[1:]])
    if change == "metadata":
        return png([*kept[:-1], (b"tEXt", b"Author\0somebody else"), kept[-1]])
    return data[:-len(data) // 3]


@pytest.mark.parametrize("change, signature, pixels, says", [
    ("one pixel", "broken", "changed", "CHANGED: its pixels are not those that were signed"),
    ("moved", "broken", "changed", "CHANGED: its pixels are not those that were signed"),
    ("metadata", "broken", "unchanged", "the rest of the file is not"),
    ("stripped", "none", "unknown", "no credentials"),
    ("truncated", "unreadable", "unknown", "cannot be read; it is damaged, cut off, or no picture"),
])
def test_what_was_done_to_a_picture_is_told(change, signature, pixels, says, picture, tmp_path):
    file = tmp_path / "b.png"
    file.write_bytes(tampered(picture, change))
    found = verify(file)
    assert (found.holds, found.signature, found.pixels) == (False, signature, pixels) and says in found.lines()[0]
    told = shell.call("verify", file)
    assert told.code == 1 and says in told.out and not told.err
    if change in ("stripped", "one pixel", "metadata"):
        assert found.watermark["marked"] and "this project made it" in told.out
    if change == "moved":
        assert not found.watermark["marked"]


def test_whatever_is_done_to_a_file_is_a_verdict_and_never_a_traceback(picture, tmp_path):
    """300 copies with bytes changed, cut out, doubled or cut off: none holds that has another byte that counts."""
    data, rng, file = picture.read_bytes(), np.random.default_rng(0), tmp_path / "b.png"
    seen = set()
    for k in range(300):
        content, at = bytearray(data), int(rng.integers(0, len(data)))
        if k % 4 == 0:
            content[at] ^= int(rng.integers(1, 256))
        elif k % 4 == 1:
            del content[at:at + int(rng.integers(1, 50))]
        elif k % 4 == 2:
            content[at:at] = content[max(0, at - 40):at] or b"x"
        else:
            del content[max(at, 1):]
        file.write_bytes(content)
        found = verify(file)
        seen.add(found.signature)
        assert not found.holds or np.array_equal(files.read(file).pixels, files.read(picture).pixels), k
        assert found.lines() and json.dumps(found._asdict())
    assert {"broken", "unreadable"} <= seen


def test_an_avif_that_its_decoder_refuses_is_a_verdict(tmp_path):
    publishing.write(tmp_path / "a.avif", Picture(noise(70, 80)), Origin("upscale"))
    data = (tmp_path / "a.avif").read_bytes()
    (tmp_path / "b.avif").write_bytes(data.replace(b"av1C", b"av1X"))
    assert verify(tmp_path / "b.avif").signature in ("broken", "unreadable")


def test_an_edit_of_a_marked_picture_keeps_its_credentials_inside_and_marks_what_it_made(picture, tmp_path):
    """Defined: what the edit did not touch keeps its own mark; the number read is that of the larger part."""
    pixels = watermark.mark(noise(160, 160), 77)
    publishing.write(tmp_path / "in.png", Picture(pixels), Origin("upscale", parent=picture))
    for share, number in ((0.3, 77), (0.9, None)):
        part = np.zeros((160, 160), bool)
        part[:, :round(160 * share)] = True
        origin = Origin("remove", facts={"model": "abc"}, parent=tmp_path / "in.png", part=part)
        edited = np.where(part[..., None], noise(160, 160, seed=3), pixels)
        publishing.write(tmp_path / "out.png", Picture(edited), origin)
        made = files.read(tmp_path / "out.png").pixels
        assert np.array_equal(made[~part], pixels[~part]) and not np.array_equal(made[part], edited[part])
        wanted = publishing.payload(origin) if number is None else number
        assert detection.detect(made, search=False).payload == wanted
        assert verify(tmp_path / "out.png").ingredients == ("in.png",)
        assert len(json.loads(c2pa.Reader(str(tmp_path / "out.png")).json())["manifests"]) == 3


def test_verify_and_detect_from_the_command_line(picture, tmp_path):
    anchor = keys.config_folder() / keys.ANCHOR
    told = shell.call("verify", picture)
    assert told.code == 0 and "the signature holds" in told.out and "no anchor vouches" in told.out
    assert shell.call("verify", picture, "--trust", anchor).code == 0
    other = tmp_path / "other.pem"
    other.write_bytes(x509.load_pem_x509_certificates(keys.own(tmp_path / "elsewhere").chain)[-1].public_bytes(PEM))
    assert shell.call("verify", picture, "--trust", other).code == 1
    assert json.loads(shell.call("verify", picture, "--json").out)["made"]["seed"] == 7
    found = shell.call("detect", picture, "--explain")
    assert found.code == 0 and "watermark found, payload" in found.out and found.out.count("\n") == 9
    facts = json.loads(shell.call("detect", picture, "--json", "--rate", "1e-6").out)
    assert facts["marked"] and facts["false_positive_rate"] < facts["rate"] == 1e-6 and facts["confidence"] > 0.999
    Image.fromarray(noise(40, 70, seed=8)).save(tmp_path / "plain.png")
    told = shell.call("detect", tmp_path / "plain.png")
    assert told.code == 1 and "pictures are marked from 64x64 pixels up" in told.out


@pytest.mark.parametrize("words, says", [
    (["verify", "nowhere.png"], "nowhere.png cannot be read"),
    (["verify", "PICTURE", "--trust", "nowhere.pem"], "the anchors nowhere.pem cannot be read"),
    (["verify", "PICTURE", "--trust", "PICTURE"], "cannot be read (no text); give a PEM file"),
    (["detect", "nowhere.png"], "nowhere.png cannot be read"),
    (["detect", "PICTURE", "--rate", "2"], "'2' is not a share between 0 and 1"),
])
def test_one_line_for_what_is_wrong(words, says, picture):
    told = shell.call(*(picture if word == "PICTURE" else word for word in words))
    assert told.code == 2 and says in told.err and told.err.count("\n") == 1, told.err


# ---------------------------------------------------------------------------------------------------------------- keys


def test_a_key_is_made_once_for_its_owner_alone(tmp_path):
    first = keys.own(tmp_path / "config")
    keys.own.cache_clear()
    assert keys.own(tmp_path / "config") == first and first.own and not first.note
    assert stat.S_IMODE((tmp_path / "config" / keys.OWN).stat().st_mode) == 0o600
    assert sorted(os.listdir(tmp_path / "config")) == [keys.ANCHOR, keys.OWN]
    assert b"PRIVATE" not in (tmp_path / "config" / keys.ANCHOR).read_bytes()


def test_a_damaged_key_is_kept_aside_and_another_made(tmp_path):
    (tmp_path / keys.OWN).write_text("damaged")
    assert keys.own(tmp_path).own
    assert any(path.read_text() == "damaged" for path in tmp_path.iterdir())


def test_where_no_key_can_be_kept_pictures_are_signed_with_a_word(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(keys.VARIABLE, str(tmp_path / "file" / "config"))
    publishing.write_png(tmp_path / "a.png", noise(8, 8), Origin("generate"))
    assert verify(tmp_path / "a.png").holds
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "cannot be kept" in said and keys.VARIABLE in said


def certificate(folder, kind="p256", days=30, begins=-1, usage=True):
    """PEM files of a root, a certificate and its key: (chain, key)."""
    make = {"p256": lambda: ec.generate_private_key(ec.SECP256R1()), "ed25519": ed25519.Ed25519PrivateKey.generate,
            "rsa": lambda: rsa.generate_private_key(65537, 2048),
            "short": lambda: rsa.generate_private_key(65537, 1024)}[kind]
    root_key, key = ec.generate_private_key(ec.SECP256R1()), make()
    now = datetime.datetime.now(datetime.UTC)

    def build(name, public, root):
        builder = keys._certificate(keys._name(name), public, keys._name("root"), root_key, authority=root)
        if root or (days, begins) == (30, -1) and usage:
            return builder
        plain = (x509.CertificateBuilder().subject_name(builder.subject).issuer_name(builder.issuer)
                 .public_key(public).serial_number(5).not_valid_before(now + datetime.timedelta(days=begins))
                 .not_valid_after(now + datetime.timedelta(days=days)))
        for extension in builder.extensions if usage else ():
            plain = plain.add_extension(extension.value, extension.critical)
        return plain.sign(root_key, hashes.SHA256())

    folder.mkdir(exist_ok=True)
    leaf, root = build("somebody", key.public_key(), False), build("root", root_key.public_key(), True)
    (folder / "chain.pem").write_bytes(leaf.public_bytes(PEM) + root.public_bytes(PEM))
    (folder / "root.pem").write_bytes(root.public_bytes(PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, PLAIN))
    return str(folder / "chain.pem"), str(folder / "key.pem")


@pytest.mark.parametrize("kind, algorithm", [("p256", "Es256"), ("rsa", "Ps256"), ("ed25519", "Ed25519")])
def test_a_real_certificate_signs(kind, algorithm, tmp_path, monkeypatch):
    chain, key = certificate(tmp_path / "ca", kind)
    monkeypatch.setenv(settings.CERTIFICATE, chain)
    monkeypatch.setenv(settings.KEY, key)
    publishing.write_png(tmp_path / "a.png", noise(8, 8), Origin("generate"))
    found = verify(tmp_path / "a.png", anchors=tmp_path / "ca" / "root.pem")
    assert found.holds and found.trusted and found.signer["algorithm"] == algorithm
    assert found.signer["name"] == "somebody"


def test_certificates_that_cannot_sign_are_refused_before_anything_is_made(tmp_path):
    chain, key = certificate(tmp_path / "a")
    _, other = certificate(tmp_path / "b")
    old, old_key = certificate(tmp_path / "c", days=-0.5, begins=-2)
    new, new_key = certificate(tmp_path / "d", begins=3)
    weak, weak_key = certificate(tmp_path / "e", "short")
    bare, bare_key = certificate(tmp_path / "f", usage=False)
    locked = tmp_path / "locked.pem"
    locked.write_bytes(serialization.load_pem_private_key(Path(key).read_bytes(), None).private_bytes(
        PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")))
    for cert, secret, says in (
            (chain, other, "does not belong to the first certificate"), (old, old_key, "expired on 20"),
            (new, new_key, "is valid from 20"), (weak, weak_key, "RSA of at least 2048 bits"),
            (bare, bare_key, "C2PA does not sign|is not valid under C2PA"), (chain, str(locked), "has a passphrase"),
            (key, key, "is not a PEM file of X.509"), (chain, chain, "is not a private key in PEM"),
            (str(tmp_path / "none"), key, "cannot be read"), (chain, None, "given together")):
        with pytest.raises(RunError, match=says) as error, publishing.using(Settings(certificate=cert, key=secret)):
            raise AssertionError("nothing is written")
        assert "\n" not in str(error.value)


def test_a_picture_that_cannot_be_signed_is_written_all_the_same(tmp_path, monkeypatch, capsys):
    def fails(*_):
        raise c2pa.C2paError.Signature("no luck")

    monkeypatch.setattr(credentials, "sign_file", fails)
    publishing.write_png(tmp_path / "a.png", noise(70, 70), Origin("generate"))
    assert verify(tmp_path / "a.png").signature == "none"
    assert detection.detect(files.read(tmp_path / "a.png").pixels).marked
    assert "pictures are written without credentials" in capsys.readouterr().err


def test_what_is_left_out_is_said(tmp_path):
    Image.fromarray(noise(72, 72)).save(tmp_path / "a.png")
    common = ["recolor", tmp_path / "a.png", "--like", tmp_path / "a.png", "--strength", 0, "--quiet"]
    told = shell.call(*common, "--out", tmp_path / "b.png", "--no-credentials", "--no-watermark")
    assert told.code == 0 and told.err.count("note: pictures are not") == 2, told.err
    assert verify(tmp_path / "b.png").signature == "none" and not verify(tmp_path / "b.png").watermark["marked"]
    told = shell.call(*common, "--out", tmp_path / "c.png")
    assert told.code == 0 and not told.err
    assert verify(tmp_path / "c.png").ingredients == ("a.png", "a.png")
    told = shell.call(*common, "--out", tmp_path / "d.png", "--sign-cert", tmp_path / "a.png")
    assert told.code == 2 and "given together" in told.err and not (tmp_path / "d.png").exists()


def test_pictures_leave_through_one_place():
    """No verb writes a picture by itself. What a run logs of its own training is not signed, but equal to the bit; what
    the service was sent, and what a user brings into the studio, is written for a verb to read."""
    others = ("training/log.py", "serving/uploads.py", "studio/home.py")
    root = Path(imggen_jax.__file__).parent
    direct = re.compile(r"\bgrids\.write_png\(|\bfiles\.write(_bands)?\(|\.save\([^)]*\.(png|webp|gif|jpe?g)")
    for path in root.rglob("*.py"):
        if path.parent.name not in ("pictures", "provenance") and path.relative_to(root).as_posix() not in others:
            assert not direct.search(path.read_text()), f"{path.name} writes a picture that is not signed"


def test_training_data_are_summed_up():
    card = {"ledger": {"license": {"stated": 3, "missing": 1, "values": {"CC0": 3}, "different": 1}}}
    said = publishing.training_facts({"name": "folder_x", "fingerprint": "ab", "card": card})["trained on"]
    assert said["license"] == {"pictures that state it": 3, "that do not": 1, "values": {"CC0": 3}}
    assert publishing.training_facts({}) == {"trained on": {}}




@pytest.mark.parametrize("kept", [10**9, 1], ids=["in memory", "on the disk"])
def test_a_picture_in_bands_is_marked_and_signed_as_a_whole_one(kept, picture, tmp_path, monkeypatch):
    monkeypatch.setattr(publishing, "_MEMORY", kept)
    pixels = noise(530, 300).astype(np.uint16) * 257
    part = np.zeros((530, 300), bool)
    part[:, 100:] = True
    origin = Origin("complete", facts={"model": "abc"}, parent=picture, part=part)
    like, bands = Picture(pixels[:1]), (pixels[top : top + 100] for top in range(0, 530, 100))
    publishing.write_bands(tmp_path / "a.png", like, pixels.shape, bands, origin)
    made, whole = files.read(tmp_path / "a.png").pixels, publishing.marked(pixels, origin)
    assert np.array_equal(made[:, :100], pixels[:, :100]) and (made != pixels).mean() > 0.5
    assert np.abs(made.astype(int) - whole).max() <= 1       # a band's waves are rounded otherwise
    found = verify(tmp_path / "a.png")
    assert found.holds and found.ingredients == ("a.png",) and found.made["pixels"] == credentials.pixel_hash(made)
    assert detection.detect(made, search=False).payload == publishing.payload(origin)
    assert os.listdir(tmp_path) == ["a.png"]


def test_a_file_too_large_to_be_signed_is_marked(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(publishing, "_SIGNED", 1000)
    publishing.write(tmp_path / "large.tif", Picture(noise(128, 128)), Origin("upscale"))
    assert "large.tif is written without credentials" in capsys.readouterr().err
    assert verify(tmp_path / "large.tif").signature == "none"
    assert detection.detect(files.read(tmp_path / "large.tif").pixels, search=False).marked


def test_a_picture_too_small_for_a_mark_is_signed_and_said_to_have_none(tmp_path):
    Image.fromarray(noise(63, 80)).save(tmp_path / "a.png")
    words = ["recolor", tmp_path / "a.png", "--like", tmp_path / "a.png", "--quiet", "--out", tmp_path / "b.png"]
    process = shell.start(*words)  # in a process of its own, since a line is said once in each
    said = process.communicate()[1]
    assert process.returncode == 0 and said == (
        "note: pictures below 64x64 pixels are too small for the watermark and are written without it\n")
    assert verify(tmp_path / "b.png").holds

"""What is chosen and loaded for `limpide serve`, up to the shelf."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from limpide.core.errors import IntegrityError, MissingError, UsageError
from limpide.core.progress import Quiet
from limpide.models.sources import resolve
from limpide.release.keys import KeyPair, new_keys
from limpide.release.sign import sign_folder
from limpide.serve.gateway import create_app
from limpide.serve.openai_types import ApiError
from limpide.serve.release import LOCK, base_of, choose, name_of
from limpide.serve.serving import open_shelf, read_adapters, serve_releases
from limpide.serve.settings import ServeSettings
from limpide.serve.shelf import Offered, Shelf
from serving import a_service
from serving_engine import WordEngine
from shared_adapters import random_adapter
from tiny_gguf import write_gguf
from vllm_stand_in import KEY, WORDS, vllm_stand_in


@pytest.fixture
def keys(tmp_path: Path) -> KeyPair:
    return new_keys(tmp_path / "keys" / "release.pem")


def signed(folder: Path, keys: KeyPair, lock: dict[str, object] | None = None) -> Path:
    (folder / "gguf").mkdir(parents=True)
    write_gguf(folder / "gguf" / "model-q8_0.gguf")
    (folder / LOCK).write_text(json.dumps(lock or {}))
    sign_folder(folder, keys.private)
    return folder


def test_two_releases_side_by_side(tmp_path: Path, keys: KeyPair) -> None:
    folders = [signed(tmp_path / f"tiny-{number}.0.0", keys) for number in (1, 2)]
    chosen = [choose(one, public_key=keys.public, unsigned=False, progress=Quiet()) for one in folders]
    with open_shelf(chosen, {}, ServeSettings(context=64, threads=1)) as shelf:
        assert [one.id for one in shelf] == ["tiny-1.0.0", "tiny-2.0.0"]
        assert all(one.verified and one.root and one.fingerprint.startswith("gguf-") for one in shelf)
        assert len(shelf.engines) == 2
        first = shelf.find(None)
        assert first.seal is not None
        assert not first.seal.look()
        (folders[0] / "extra.txt").write_text("x")  # not a served file: found by the next verification
        assert not first.seal.look()
        with pytest.raises(IntegrityError):
            first.seal.renew()
        with pytest.raises(ApiError, match="changed while it was served"):
            first.require_unchanged()


def test_another_release_in_the_same_place_is_a_change(tmp_path: Path, keys: KeyPair) -> None:
    folder = signed(tmp_path / "tiny-1.0.0", keys)
    chosen = choose(folder, public_key=keys.public, unsigned=False, progress=Quiet())
    assert chosen.seal is not None
    (folder / LOCK).write_text('{"other": 1}')
    (folder / "model.sig").unlink()
    sign_folder(folder, keys.private)
    assert chosen.seal.look()
    with pytest.raises(IntegrityError, match="another signed release"):
        chosen.seal.renew()


def test_without_a_gguf_file_a_release_goes_to_transformers(tmp_path: Path, keys: KeyPair) -> None:
    folder = tmp_path / "tiny-1.0.0"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    sign_folder(folder, keys.private)
    made = choose(folder, public_key=keys.public, unsigned=False, progress=Quiet())
    assert (made.engine, made.model, made.digest) == ("transformers", folder, made.root)
    with pytest.raises(MissingError, match="no GGUF file"):
        choose(folder, public_key=keys.public, unsigned=False, progress=Quiet(), engine="llamacpp")


def test_an_unsigned_model_folder(tiny_path: Callable[[str], Path]) -> None:
    made = choose(tiny_path("llama"), public_key=None, unsigned=True, progress=Quiet())
    assert (made.engine, made.verified, made.root) == ("transformers", False, None)
    assert made.seal is not None
    made.seal.renew()
    with pytest.raises(UsageError, match="GGUF"):
        choose(tiny_path("llama"), public_key=None, unsigned=True, progress=Quiet(), engine="llamacpp")


def test_the_base_of_a_release(tmp_path: Path, keys: KeyPair, tiny_path: Callable[[str], Path]) -> None:
    base = tiny_path("llama")
    named = {"ref": str(base), "digest": resolve(str(base)).digest}
    folder = signed(tmp_path / "tiny-1.0.0", keys, {"base": named})
    made = base_of(folder, Quiet(), "auto")
    assert (made.name, made.engine, made.verified) == ("llama", "transformers", False)
    other = signed(tmp_path / "other-1.0.0", keys, {"base": {**named, "digest": "0" * 64}})
    with pytest.raises(IntegrityError, match="is not the base"):
        base_of(other, Quiet(), "auto")
    with pytest.raises(MissingError, match="what it was made from"):
        base_of(signed(tmp_path / "none-1.0.0", keys), Quiet(), "auto")


@pytest.mark.parametrize(
    ("ref", "name"),
    [
        ("smollm2-135m-instruct", "smollm2-135m-instruct"),
        ("models/tiny-1.0.0/", "tiny-1.0.0"),
        ("hub:owner/name@main", "name"),
        ("a/b.q8.gguf", "b.q8"),
    ],
)
def test_the_id_of_an_unsigned_model(ref: str, name: str) -> None:
    assert name_of(ref) == name


def test_adapters_are_named_once(tmp_path: Path) -> None:
    assert read_adapters(["a=x/y", "b=c=d"]) == {"a": Path("x/y"), "b": Path("c=d")}
    for wrong in (["a"], ["=x"], ["a="], ["a=x", "a=y"]):
        with pytest.raises(UsageError, match="name of its own"):
            read_adapters(wrong)


def test_adapters_need_the_transformers_engine(tmp_path: Path, keys: KeyPair) -> None:
    folder = signed(tmp_path / "tiny-1.0.0", keys)
    chosen = choose(folder, public_key=keys.public, unsigned=False, progress=Quiet())
    with (
        pytest.raises(UsageError, match="transformers engine only"),
        open_shelf([chosen], {"a": tmp_path}, ServeSettings()),
    ):
        pass


def test_a_name_stands_for_one_model() -> None:
    one = Offered("a", WordEngine(), None, "a", None, "f", False)
    with pytest.raises(UsageError, match="name of its own") as caught:
        Shelf([one, one])
    assert caught.value.received == "a"
    with pytest.raises(UsageError, match="name of its own"):
        Shelf([])


def test_an_engine_elsewhere_needs_its_address(tmp_path: Path) -> None:
    state = tmp_path / "state"
    for settings in (ServeSettings(state=state, engine="vllm"), ServeSettings(state=state, engine_url="http://x")):
        with pytest.raises(UsageError, match="go together"):
            serve_releases([tmp_path], port=0, settings=settings)


def test_an_unsigned_model_named_without_saying_so(tmp_path: Path) -> None:
    def remedy(name: str) -> str | None:
        with pytest.raises(UsageError, match="nothing to serve") as caught:
            serve_releases([Path(name)], port=0, settings=ServeSettings(state=tmp_path / "state"))
        return caught.value.remedy

    assert remedy("smollm2-135m-instruct") == "limpide serve smollm2-135m-instruct --unsigned"
    assert remedy("no-such-folder") is None


def test_an_address_for_others_needs_a_key_that_opens(tmp_path: Path) -> None:
    from limpide.serve.access import create, revoke
    from limpide.serve.store import DATABASE, open_store

    store = open_store(tmp_path / "state" / DATABASE)
    settings = ServeSettings(state=tmp_path / "state")

    def tried() -> str:
        with pytest.raises(UsageError) as caught:
            serve_releases([tmp_path / "none"], host="0.0.0.0", port=0, settings=settings)
        return caught.value.what

    assert "no key protects it" in tried()
    key, _ = create(store, "ward 3")
    assert "nothing to serve" in tried()  # the address is let through
    revoke(store, key.id)
    assert "no key protects it" in tried()
    store.close()


def test_adapters_of_one_base_are_swapped_by_the_request(tmp_path: Path, tiny_path: Callable[[str], Path]) -> None:
    """Two adapters and their base behind one gateway: three ids, three answers, one copy of the weights."""
    base = tiny_path("llama")
    adapters = {name: random_adapter(base, tmp_path / name, seed) for name, seed in (("first", 1), ("second", 2))}
    chosen = choose(base, public_key=None, unsigned=True, progress=Quiet(), engine="transformers")

    async def asked(shelf: Shelf) -> dict[str, tuple[str, str]]:
        with a_service(tmp_path / "state", *shelf) as service:
            transport = httpx.ASGITransport(create_app(service))
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                found = {}
                for one in shelf:
                    body = {"model": one.id, "prompt": "The pump", "max_tokens": 8}
                    response = await client.post("/v1/completions", json=body)
                    found[one.id] = response.json()["choices"][0]["text"], response.headers["x-limpide-release"]
            await one.engine.close()
            return found

    with open_shelf([chosen], adapters, ServeSettings(threads=1)) as shelf:
        assert len(shelf.engines) == 1
        found = asyncio.run(asked(shelf))
    assert {name: release for name, (_, release) in found.items()} == {name: name for name in found}
    assert list(found) == ["llama", "first", "second"]
    assert len({text for text, _ in found.values()}) == 3


def test_a_release_whose_engine_runs_elsewhere(tmp_path: Path, keys: KeyPair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The release is verified here and named in the answers; a vLLM server gives them."""
    monkeypatch.setenv("LIMPIDE_ENGINE_KEY", KEY)
    folder = signed(tmp_path / "tiny-1.0.0", keys)
    chosen = choose(folder, public_key=keys.public, unsigned=False, progress=Quiet(), engine="vllm")
    assert chosen.digest == chosen.root

    async def asked(shelf: Shelf) -> httpx.Response:
        with a_service(tmp_path / "state", *shelf) as service:
            transport = httpx.ASGITransport(create_app(service))
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                response = await client.post("/v1/completions", json={"prompt": "The pump", "max_tokens": 8})
            await shelf.engines[0].close()
            return response

    with vllm_stand_in() as stand_in:
        settings = ServeSettings(engine="vllm", engine_url=stand_in.url)
        with open_shelf([chosen], {}, settings) as shelf:
            response = asyncio.run(asked(shelf))
    assert response.json()["choices"][0]["text"] == "".join(WORDS)
    assert response.headers["x-limpide-release"] == "tiny-1.0.0"

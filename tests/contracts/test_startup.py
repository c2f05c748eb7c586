"""Heavy things are asked for by name: nothing here imports torch before it must."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "peft", "matplotlib", "xllamacpp", "model_signing", "fastapi", "gguf", "scipy")
LIST = "import sys; print(sorted(set(sys.modules) & set({heavy!r})))"


def loaded(code: str) -> str:
    script = f"{code}\n{LIST.format(heavy=HEAVY)}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


def test_help_imports_nothing_heavy() -> None:
    code = "from limpide.cli.main import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass"
    assert loaded(code) == "[]"


def test_catalogue_imports_no_torch() -> None:
    code = "from limpide.core import catalogue; catalogue.every()"
    assert "torch" not in loaded(code)
    assert "transformers" not in loaded(code)


@pytest.mark.parametrize("room", ["document.report", "document.card", "release.verify", "release.sign", "data.prepare"])
def test_rooms_of_a_bare_machine_import_no_torch(room: str) -> None:
    assert "torch" not in loaded(f"import limpide.{room}")


def test_planning_a_recipe_imports_no_torch() -> None:
    assert "torch" not in loaded("import limpide.recipe.plan, limpide.recipe.load, limpide.recipe.run")

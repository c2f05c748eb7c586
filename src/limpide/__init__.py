"""Limpide: open an open-weight language model, audit it, adapt it, and release it with its recipe.

Reading order: `core` (words every room shares) → `data` → `models` → `audit`, `adapt`, `optimise` →
`document`, `release` → `recipe` (composes them) → `serve`, `cli`.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("limpide")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

"""The style that the recipe and run pages have of their own."""

from pathlib import Path

LOOK = Path(__file__).with_name("recipe_look.css")

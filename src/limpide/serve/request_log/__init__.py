"""The request log: what was asked and answered, in a form that shows when it was changed."""

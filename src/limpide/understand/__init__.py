"""Why the model said this: one method a file, each with a test of whether its explanation is true."""

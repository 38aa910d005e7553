"""The containers: their files, read without an engine, and ``make compose-test``, which starts them."""

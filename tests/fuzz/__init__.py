"""A fuzzer for the files that users give to the scripts: `python -m tests.fuzz --count 10000`."""

"""The benchmark: the same jobs on Tidemill and other engines, over a real Kafka.

Run it with `python -m bench`; bench/README.md describes the method. It is not part of the installed package.
"""

"""The benchmark: the same jobs on Tidemill and on its peers, over a real Kafka, with one command (`python -m bench`).

What a run means is in bench/README.md. Nothing here is part of the installed package.
"""

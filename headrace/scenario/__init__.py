"""One load, and several systems under it at once: what each promises, holds, costs, and how it answers.

`side` is one system on a prefix of its own; `run` sends the same queries to every side and counts; `picture` draws what
came of it; `oracle` is what would have sufficed. Loads and scores are the simulator's.
"""

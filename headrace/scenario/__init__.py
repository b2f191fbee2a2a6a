"""One load, and several systems under it at once: what each promises, holds, costs, and how it answers.

`loads` are rates by second and class; `side` is one system on a prefix of its own; `run` sends the same queries to
every side and counts; `scores` and `picture` say what came of it; `oracle` is what would have sufficed.
"""

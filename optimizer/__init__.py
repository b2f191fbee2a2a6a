"""What should run: the planning problem, its solution by a deadline, and what checks it."""

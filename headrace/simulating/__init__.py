"""`headrace simulate`: a scenario file, policies by name, seeds in processes beside each other, and a table."""

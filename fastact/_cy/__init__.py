"""What is compiled: kernels generated from the formulas, the executor, and the fast front end. All of it may be absent."""

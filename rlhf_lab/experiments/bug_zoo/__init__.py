"""Each bug of the zoo in training, beside a run that differs in that one function."""

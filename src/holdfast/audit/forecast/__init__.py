"""What is read of data and base before training, to tell what training will do to safety."""

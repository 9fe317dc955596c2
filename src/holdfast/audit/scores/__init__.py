"""What the base model says of a row: three harm scores with their nulls, spillover, narrowness."""

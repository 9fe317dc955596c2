"""SafeGrad: the part of the task's gradient that works against the base's answers is removed."""

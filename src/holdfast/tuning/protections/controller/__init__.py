"""The controller: replay-KL whose strength is steered by what the monitor sees."""

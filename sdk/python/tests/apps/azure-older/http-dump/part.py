NAME = "older"

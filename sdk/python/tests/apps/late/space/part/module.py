NAME = "part of a namespace"

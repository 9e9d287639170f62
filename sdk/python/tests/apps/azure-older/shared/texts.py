def greeting(name: str) -> str:
    return f"good day, {name}"

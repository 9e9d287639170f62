"""wfn for Python: builds an application into a component, and makes Python whole inside it."""

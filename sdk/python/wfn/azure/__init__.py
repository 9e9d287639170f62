"""Azure Functions apps in Python, as they are: docs/azure.md. `app` reads them, `invoke` runs them, `manifest` makes wfn.toml of them."""

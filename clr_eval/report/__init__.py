"""The report: `report` is the whole, made of `figures` and `text` in `sections`, in a `folder`."""

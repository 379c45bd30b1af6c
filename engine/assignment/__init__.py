"""Who runs which task: the assignor, as pure functions of what members say of themselves."""

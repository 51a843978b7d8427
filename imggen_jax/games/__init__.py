"""One file a method: each offers make(spec, ...) -> Game."""

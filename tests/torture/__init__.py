"""The long tests of the monitor: each measures one promise, in full for `make torture`, short in CI."""

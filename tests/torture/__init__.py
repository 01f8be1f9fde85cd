"""The long tests of the monitor: each measures one promise at full size for `make torture`, and short in CI."""

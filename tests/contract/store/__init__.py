"""What every Store must do, on the fake and on etcd."""

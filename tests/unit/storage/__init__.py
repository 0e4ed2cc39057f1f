"""Tests of master/storage and common/etcd without an etcd."""

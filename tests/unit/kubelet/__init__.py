"""Tests of node/kubelet."""

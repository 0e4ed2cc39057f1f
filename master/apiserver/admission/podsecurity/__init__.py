"""The Pod Security Standards: which pods a namespace takes, by its labels. Pure.

`policy` reads the labels, `evaluation` asks the checks of a level, `baseline` and `restricted` are
these checks. The admission step that asks them is `plugins/pod_security.py`.
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

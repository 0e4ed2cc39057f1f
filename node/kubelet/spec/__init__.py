"""What the runtime is asked for, as a PodSpec wants it; what cannot be carried out is named. Pure.

When it is asked, and what is then said of the pod, is node.kubelet.pod.
"""

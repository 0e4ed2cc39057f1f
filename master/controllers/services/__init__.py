"""Which pods a Service leads to: EndpointSlices, Endpoints, the Service of the API."""

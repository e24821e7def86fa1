"""OpenAPI by drf-spectacular when it is installed; without it the same decorators do nothing."""

try:
    from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_field
except ImportError:

    def extend_schema(**described):  # type: ignore[misc]
        return lambda described_thing: described_thing

    def extend_schema_field(described):  # type: ignore[misc]
        return lambda described_thing: described_thing

    def OpenApiResponse(*args, **described):  # type: ignore[no-redef]
        return None

    def OpenApiParameter(*args, **described):  # type: ignore[no-redef]
        return None


__all__ = ["OpenApiParameter", "OpenApiResponse", "extend_schema", "extend_schema_field"]

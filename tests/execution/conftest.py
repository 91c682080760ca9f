from tests.heard import heard

__all__ = ["heard"]

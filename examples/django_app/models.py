"""What the guest book stores."""

# mypy: disallow-subclassing-any=False

from django.db import models


class Guest(models.Model):
    """One entry of the guest book."""

    name = models.CharField(max_length=100)
    city = models.CharField(max_length=100)

    def __str__(self) -> str:
        return f"{self.name} from {self.city}"

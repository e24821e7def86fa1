"""What a shop's front end may ask."""

from rest_framework.routers import SimpleRouter

from .contracts import ContractViewSet

router = SimpleRouter()
router.register("contracts", ContractViewSet, basename="contract")

urlpatterns = router.urls

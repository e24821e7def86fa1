"""What a shop's front end may ask."""

from rest_framework.routers import SimpleRouter

from .contracts import ContractViewSet
from .orders import QuickPaymentViewSet

router = SimpleRouter()
router.register("contracts", ContractViewSet, basename="contract")
router.register("quick-payments", QuickPaymentViewSet, basename="quick-payment")

urlpatterns = router.urls

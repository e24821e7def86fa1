"""What a shop's front end may ask."""

from rest_framework.routers import SimpleRouter

from .combine_orders import CombineOrderViewSet
from .contracts import ContractViewSet
from .orders import QuickPaymentViewSet
from .payees import PayeeViewSet
from .service_orders import ServiceOrderViewSet
from .sign_plans import SignPlanViewSet

router = SimpleRouter()
router.register("contracts", ContractViewSet, basename="contract")
router.register("quick-payments", QuickPaymentViewSet, basename="quick-payment")
router.register("sign-plans", SignPlanViewSet, basename="sign-plan")
router.register("service-orders", ServiceOrderViewSet, basename="service-order")
router.register("payees", PayeeViewSet, basename="payee")
router.register("combine-orders", CombineOrderViewSet, basename="combine-order")

urlpatterns = router.urls

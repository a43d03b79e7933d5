"""The suite that every launcher passes, as a pytest plug-in for packages that bring one (docs/plug-ins.md).

    from batch.contract_suite import ContractCluster, LauncherContract

    class TestMoon(LauncherContract):
        @pytest.fixture
        def cluster(self, tmp_path):
            return ContractCluster(lambda: MoonLauncher("moon", tmp_path))

It needs pytest, which Towpath itself does not. Nothing of the product imports it.
"""

from batch.contract_suite.launcher import ContractCluster, LauncherContract

__all__ = ["ContractCluster", "LauncherContract"]

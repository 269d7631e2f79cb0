"""Shows and chooses image, model, adapter and settings in the panels of the dock."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from qtpy.QtWidgets import QFileDialog, QWidget

from napari_promise.remote.security import is_address
from napari_promise.session import SegmentResult, Status
from napari_promise.widgets import catalogue
from napari_promise.widgets.choices import Choice
from napari_promise.widgets.connections import Connections
from napari_promise.widgets.desk import Desk
from napari_promise.widgets.prompting.model_panel import ModelPanel
from napari_promise.widgets.prompting.prompt_panel import PromptPanel
from napari_promise.widgets.prompting.remote_dialog import RemoteDialog
from napari_promise.widgets.prompting.settings_dialog import SettingsDialog


class Models:
    """Keeps the model panel in step with the session, and the session with it.

    Parameters
    ----------
    desk : Desk
    panel : ModelPanel
    prompt : PromptPanel
        Shows settings of the session too.
    parent : QWidget
        What dialogs open above.
    """

    def __init__(
        self, desk: Desk, panel: ModelPanel, prompt: PromptPanel, parent: QWidget
    ) -> None:
        self._desk, self._session = desk, desk.session
        self._panel, self._prompt, self._parent = panel, prompt, parent
        self._settings: SettingsDialog | None = None
        self._remote: RemoteDialog | None = None
        self._connections = Connections()
        add, session, bridge = self._connections.add, desk.session, desk.bridge
        add(session.status_changed, self._show_status)
        add(session.model_changed, self._on_changed)
        add(session.adapter_changed, self._on_changed)
        add(session.segmented, self._offer_box)
        add(session.settings.events, self._on_setting)
        add(session.cache_measured, self._show_cache_size)
        add(desk.adapters_read, self.show_models)
        add(bridge.images_changed, self._show_images)
        add(bridge.work_changed, self._show_images)
        panel.image_chosen.connect(bridge.open)
        panel.model_chosen.connect(self._on_model_chosen)
        panel.adapter_chosen.connect(self._on_adapter_chosen)
        panel.ips_toggled.connect(lambda on: setattr(session.settings, "ips", on))
        panel.cancel_requested.connect(session.cancel)
        panel.settings_requested.connect(self.open_settings)
        panel.local_requested.connect(self.use_this_computer)
        prompt.live_toggled.connect(lambda on: setattr(session.settings, "live", on))
        prompt.local_toggled.connect(lambda on: setattr(session.settings, "local", on))
        self._show_images()
        self.show_settings()
        self._show_status(session.status)

    @property
    def settings(self) -> SettingsDialog:
        """The window with the settings; made when first asked for."""
        if self._settings is None:
            dialog = SettingsDialog(self._parent)
            dialog.changed.connect(
                lambda name, value: setattr(self._session.settings, name, value)
            )
            dialog.clear_cache_requested.connect(self._session.clear_cache)
            self._settings = dialog
        return self._settings

    @property
    def remote(self) -> RemoteDialog:
        """The window that asks for another computer; made when first asked for."""
        if self._remote is None:
            dialog = RemoteDialog(self._parent)
            dialog.connect_requested.connect(self._on_remote_chosen)
            self._remote = dialog
        return self._remote

    def close(self) -> None:
        """Hear nothing more; the panels may be gone already."""
        self._connections.release()

    def adapter_has(self, part: Literal["apm", "ips"]) -> bool:
        """Whether the adapter in use has a part; one from a folder may."""
        settings = self._session.settings
        adapter, model = settings.adapter, settings.model
        entry = catalogue.entry_of(self._desk.adapters, adapter, model)
        if entry is None:
            return bool(adapter)
        return entry.has_apm if part == "apm" else entry.has_ips

    def _offer_box(self, result: SegmentResult) -> None:
        """Have a box drawn next, where a model that knows no clicks got one."""
        document, bridge = result.document, self._desk.bridge
        if self._session.knows_points or document is not self._session.document:
            return
        active = document.active
        if active is not None and active.id == result.object_id:
            prompts = active.prompts
            if len(prompts.points) and not len(prompts.boxes):
                bridge.use_tool("box")

    # -- showing ------------------------------------------------------------------

    def _show_images(self) -> None:
        bridge = self._desk.bridge
        work = bridge.work
        current = work.image if work is not None and bridge.has_image() else None
        self._panel.image.show_choices(
            [Choice(image, image.name) for image in bridge.images()], current
        )

    def show_models(self) -> None:
        """Show which models and adapters there are, and what is in use."""
        settings, adapters = self._session.settings, self._desk.adapters
        self._panel.model.show_choices(
            catalogue.model_choices(settings.model), settings.model
        )
        self._panel.adapter.show_choices(
            catalogue.adapter_choices(adapters, settings.adapter, settings.model),
            settings.adapter,
        )
        self._panel.show_ips(settings.ips, available=self.adapter_has("ips"))
        self._panel.show_remote(settings.device if is_address(settings.device) else "")
        self._prompt.show_local(settings.local)

    def show_settings(self) -> None:
        """Show the settings as they are."""
        settings = self._session.settings
        self._prompt.show_live(settings.live)
        self.show_models()
        if self._settings is not None:
            self._settings.show_values(settings.to_preferences())

    def _show_cache_size(self, memory: int, disk: int | None) -> None:
        if self._settings is not None:
            self._settings.show_cache_size(memory, disk)

    def _show_status(self, status: Status) -> None:
        device = f"Device: {status.device}" if status.device else ""
        self._panel.show_status(status.state, status.message, device)

    def _on_changed(self, _what: Any) -> None:
        self.show_models()

    def _on_setting(self, _info: Any) -> None:
        self.show_settings()

    # -- choosing -----------------------------------------------------------------

    def _on_model_chosen(self, value: Any) -> None:
        if value is catalogue.REMOTE:
            self.open_remote()
            value = None
        if value is catalogue.FROM_FILE:
            name, _ = QFileDialog.getOpenFileName(
                self._parent,
                "Choose a checkpoint",
                str(Path.cwd()),
                "Checkpoints (*.pt *.pth *.safetensors)",
            )
            value = name or None
        if value:
            self._session.settings.model = value
        self.show_models()

    def _on_adapter_chosen(self, value: Any) -> None:
        if value is catalogue.FROM_FOLDER:
            name = QFileDialog.getExistingDirectory(
                self._parent, "Choose an adapter's folder", str(Path.cwd())
            )
            value = name or None
        if value is not None:
            self._bring_model_of(value)
            self._session.settings.adapter = value
        self.show_models()

    def _bring_model_of(self, adapter: str) -> None:
        """Change to the model that an adapter is for, where that one is at hand."""
        settings = self._session.settings
        entry = catalogue.entry_of(self._desk.adapters, adapter, settings.model)
        if entry is not None and catalogue.brings(entry, settings.model):
            settings.adapter = ""  # that of the model before
            settings.model = entry.base_model

    def open_settings(self) -> None:
        """Open the window with the settings."""
        self.settings.show_values(self._session.settings.to_preferences())
        self._session.measure_cache()
        self.settings.show()
        self.settings.raise_()

    def open_remote(self) -> None:
        """Open the window that asks for another computer to encode on."""
        settings = self._session.settings
        self.remote.show_values(settings.remote, settings.certificate, settings.plain)
        self.remote.show()
        self.remote.raise_()

    def _on_remote_chosen(self, address: str, certificate: str, plain: bool) -> None:
        settings = self._session.settings
        settings.remote, settings.certificate = address, certificate
        settings.plain = plain
        settings.device = address
        self._session.reload_model()  # the same address, which did not answer before

    def use_this_computer(self) -> None:
        """Encode here again."""
        self._session.settings.device = "auto"
